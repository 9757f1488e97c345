-- Made after a large import, for then they are made in order.

CREATE INDEX IF NOT EXISTS works_listed ON works (layer, at DESC, id) WHERE said IS NOT NULL;
CREATE INDEX IF NOT EXISTS changes_by_work ON changes (layer, id, seq);
CREATE INDEX IF NOT EXISTS changes_by_time ON changes (at);
