-- A register of rights. Layers are numbers (see `LAYER_NUMBERS`), an id that is a canonical decimal is an integer,
-- moments are milliseconds since 1970. What repeats a million times (words, who noted them) stands once.

CREATE TABLE works (
    layer   INTEGER NOT NULL,
    id      NOT NULL,
    parents TEXT NOT NULL,          -- "4:17" US "2:5": layer and id of each, separated by 0x1f
    said    INTEGER,                -- sayings.n; NULL when its holder has said nothing
    at      INTEGER,                -- since when
    noted   INTEGER,                -- notes.n
    PRIMARY KEY (layer, id)
) WITHOUT ROWID;

CREATE TABLE sayings (              -- the JSON of `write_choice`; one text has one number, for ever
    n       INTEGER PRIMARY KEY,
    hash    INTEGER NOT NULL,
    text    TEXT NOT NULL
);
CREATE INDEX sayings_by_hash ON sayings (hash);

CREATE TABLE notes (                -- who noted changes, and why
    n       INTEGER PRIMARY KEY,
    by      TEXT NOT NULL,
    reason  TEXT NOT NULL
);

CREATE TABLE changes (              -- only ever added to
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    layer   INTEGER NOT NULL,
    id      NOT NULL,
    said    INTEGER,                -- NULL: withdrawn
    noted   INTEGER NOT NULL,
    parents TEXT                    -- NULL: left as they were
);

CREATE TABLE counts (
    layer   INTEGER PRIMARY KEY,
    works   INTEGER NOT NULL,
    choices INTEGER NOT NULL
);
