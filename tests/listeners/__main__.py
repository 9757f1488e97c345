"""All personas of a policy's platform as one labelled trace: `python -m tests.listeners --out FILE.jsonl`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

from tests.listeners.personas import personas_of
from tests.listeners.policies import SITES_OF, sites_of


def labelled(site_name: str, policy: str, seed: int, hours: float) -> list[dict[str, object]]:
    """The lines of everybody, over some hours, with who they are."""
    rows: list[dict[str, object]] = []
    for site in sites_of(policy):
        if site_name and site.name != site_name:
            continue
        for persona in personas_of(site):
            start_s = Random(f"{persona.name}/{seed}").uniform(0, hours * 3600)
            name = persona.name.replace(" ", "_")
            for line in persona.lines(seed, site, start_s):
                actor = f"{name}@{seed}"
                label = f"{name}#{seed}" if not persona.large else f"{name}#{line['ip']}"
                rows.append(
                    {**line, "ja4": None, "persona": name, "truth": persona.truth, "actor": actor}
                    | {"session_label": label, "can_js": persona.can_js, "site": site.name}
                )
    rows.sort(key=lambda row: row["t"])  # type: ignore[arg-type,return-value]
    return [{"i": number, **row} for number, row in enumerate(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.listeners", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--policy", default="no-ai", choices=sorted(SITES_OF))
    parser.add_argument("--site", default="generic", help="one of the policy's platforms by name; '' for all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=16.0, help="over how many hours the personas begin")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    site = asked.site if any(one.name == asked.site for one in sites_of(asked.policy)) else ""
    rows = labelled(site, asked.policy, asked.seed, asked.hours)
    with asked.out.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
    print(f"{len(rows)} requests of {len({row['persona'] for row in rows})} personas")


if __name__ == "__main__":
    main()
