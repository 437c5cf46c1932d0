"""The limited child: it looks at what came from outside, and says in JSON what it found.

Run as a script (`python -I -S child.py`), without the environment's secrets and without site packages but Jinja's own. The
limits are set before anything from outside is read.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pillm.intake.faults import Fault
from pillm.intake.limits import allow, limit_process, on_this_machine

WARM = (
    "{{ '\\n' + messages | tojson }}{% generation %}{{ strftime_now('%d %b %Y') }}{% endgeneration %}",
    "{{ raise_exception('no') }}",
)


def main() -> None:
    """Read one task from standard input and answer it on standard output."""
    gc.disable()  # it lives for one task; a vocabulary of half a million objects is read twice as fast
    seconds, megabytes, jinja = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if jinja:
        _serve_templates(jinja, seconds, megabytes)
        return
    from pillm.intake import inspection

    task, seconds = json.load(sys.stdin), on_this_machine(seconds)
    limit_process(seconds=seconds, megabytes=megabytes, times=sum(map(len, task.values())) + 1)
    looks = {"files": inspection.look_at_file, "folders": inspection.look_at_folder}
    for kind, look in looks.items():
        for path in task.get(kind, ()):
            allow(seconds)
            try:
                found = look(Path(path))
                _say({"notes": found.notes, "templates": found.templates})
            except Fault as fault:
                _say({"fault": fault.to_json()})
            except MemoryError:
                _say({"fault": Fault(f"looking at it takes more than {megabytes} MiB of memory").to_json()})
            except Exception as error:  # noqa: BLE001 - what the check did not foresee is refused too
                _say(
                    {"fault": Fault(f"the check did not understand it ({type(error).__name__}: {str(error)[:120]})").to_json()}
                )


def _serve_templates(paths: list[str], seconds: float, megabytes: int) -> None:
    sys.path += paths
    from pillm.intake import chattemplates

    for template in WARM:  # what Jinja loads late, such as what it mends tracebacks with, is loaded now
        with contextlib.suppress(Fault):
            chattemplates.try_template(template, {})
    watch = chattemplates.Watch()
    sys.addaudithook(watch)
    limit_process(seconds=on_this_machine(seconds), megabytes=megabytes)
    task = json.load(sys.stdin)
    watch.active = True
    fault: Fault | None = None
    try:
        chattemplates.try_template(task["template"], task["specials"])
    except Fault as found:
        fault = found
    except MemoryError:
        fault = Fault(f"the chat template takes more than {megabytes} MiB of memory")
    except Exception as error:  # noqa: BLE001 - as above
        fault = Fault(f"the chat template ends in {type(error).__name__}: {str(error)[:120]}")
    watch.active = False
    if watch.seen:
        fault = Fault(f"the chat template tried to reach out of its sandbox ({watch.seen[0]})")
    _say({"fault": fault.to_json()} if fault else {"notes": [], "templates": []})


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
