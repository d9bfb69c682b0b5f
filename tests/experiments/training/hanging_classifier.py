"""The classifier's program that hangs: `python -m tests.experiments.training.hanging_classifier`.

`HANGS` names the place: "read" as it reads its images, "step" in the second epoch, "" nowhere.
`HANGS_SECONDS` is how long the others wait.
"""

import os
import time

from experiments import classifier, data
from experiments.command_line import run
from experiments.training import processes, trainer


def main():
    place, seconds = os.environ["HANGS"], int(os.environ["HANGS_SECONDS"])
    processes._LATE_SECONDS, processes._HANGS_SECONDS = seconds // 4, seconds
    load, advance = data.load, trainer.Trainer.advance

    def loaded(*args, **options):
        if place == "read":
            time.sleep(3600)
        return load(*args, **options)

    def advanced(self, number):
        if place == "step" and self.epochs_done:
            time.sleep(3600)
        advance(self, number)

    data.load, trainer.Trainer.advance = loaded, advanced
    run(classifier.main, classifier.Config, presets=classifier.PRESETS, leave=processes.leave)


if __name__ == "__main__":
    main()
