"""What every program needs at the terminal.

program     from the command line to `main(config)`, and from an error to one line
options     the options of a program, from the fields of a dataclass
errors      the errors that end a program with one line
notes       lines on standard error about parts that failed while the program went on
progress    a progress bar
tables      tables on standard output
files       output folders, and files that are written whole or not at all
"""

from .errors import Diverged as Diverged
from .errors import Interrupted as Interrupted
from .errors import UserError as UserError
from .errors import require as require
from .files import make_output_dir as make_output_dir
from .files import write_figure as write_figure
from .files import write_json as write_json
from .files import write_whole as write_whole
from .notes import attempt as attempt
from .notes import note as note
from .program import run as run
