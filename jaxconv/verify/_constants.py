"""Every number that a verdict depends on and that no arithmetic determines.

The bounds come from the arithmetic: the unit roundoff of a dtype, the terms of a sum, the movement
of a perturbed evaluation, the disagreement of two extrapolations. These are estimates, and a
verdict needs a multiple of them. This module names the multiples, the numbers of evaluations, and
the sizes above which fewer evaluations are made.

`python -m experiments.verifier --sensitivity` multiplies and divides each of them by 4 and counts
the wrong gradients that are then missed and the right ones that are then called wrong.

"Chosen" marks a number without a derivation. Its justification is empirical: on the cases of
experiments/verifier no right gradient is called wrong and no wrong one is missed.

Numbers that no verdict depends on, such as batch sizes and line lengths, are defined where they are
used. So are facts such as unit roundoffs and the number of terms of a sum.
"""

# Rounding: `truth/_rounding.py` and `truth/_operations.py`

# A gradient is wrong if it is off by more than this multiple of its rounding, which is the root
# mean square over SAMPLES perturbed evaluations. Chosen: the mean of so few samples may be too
# small by a factor of 2 or 3, and an error may be 2 or 3 times its own mean. A perturbation is 1/2
# to 3/2 of the possible error of an operation.
MARGIN = 8.0
# The number of perturbed evaluations. Chosen: more take longer, fewer estimate the rounding less
# well.
SAMPLES = 6
# The same for large functions, which have many elements, and for second derivatives.
FEW_SAMPLES = 3
# The same before a rule is called wrong because of the rounding of its own dtype alone. Chosen:
# near a tie the selection may go either way, which SAMPLES evaluations can miss.
SECOND_LOOK = 64
# Rounded constants move the result by at most this multiple of the largest movement over SAMPLES
# combinations of their signs. Chosen.
ROUNDED_CONSTANTS = 1.5
# The error of a function such as `exp` in units. Libraries state 1 to 4 for most.
UNITS_OF_FUNCTIONS = 4
# The rounding of an expected value on its way to the comparison, in units of float64: one or two
# additions and a conversion. Counted generously.
UNITS_OF_COMPARISON = 4
# The factor on the bound if two rounded results are compared, or if a mode takes one argument at a
# time and sums as many terms again. Counted.
TWO_ROUNDINGS = 2.0
# The allowed difference between `reference` and the function in units: two formulas, each with its
# own rounding. Chosen.
UNITS_OF_REFERENCE = 64

# The allowed difference between the value that a rule returns and that of the function, relative to
# the largest element of the array, where rounding changes a selection. Chosen.
SHARE_OF_VALUE = 1 / 16
# The relative precision of a loop whose end depends on floating-point values: half of the digits,
# which most solvers reach at least. Chosen.
STOPPING = 2.0**-26
# The error of such a loop is this multiple of the change that one more iteration makes. The changes
# decrease, and those of the derivative are larger than those of the value. Chosen.
ROUNDS = 16
# The largest jump between neighbouring points, relative to the values, that counts as noise.
# Chosen: a larger one is a property of the function.
MOST_NOISE = 1e-4
# The largest distance between the points at which noise is looked for, relative to the point, and
# the size in units from which a step between two converging points is a jump. Chosen.
DISTANCE = 1e-4
JUMP = 64
# A gradient has no correct digit if rounding moves it by more than its size and by this multiple of
# the slope that half a unit of the function's values makes. Chosen.
AMPLIFIED = 2.0**13
# Errors that are COARSER times as large must move it in proportion, by at least IN_PROPORTION times
# as much. A selection that rounding changes is not in proportion. Chosen.
COARSER = 16.0
IN_PROPORTION = 4.0

# Finite differences: `truth/_differences.py`, `truth/_truth.py` and `truth/_kinks.py`

# A slope is off by at most this multiple of the disagreement of its extrapolations. Chosen: the
# disagreement gives the order of magnitude of the error.
ERRORS = 16.0
# The widest step, relative to the point. Chosen: points further away are not near.
FIRST_STEP = 2.0**-3
# The largest ratio of the step of a small element to its size, in an array of larger elements. The
# finest steps must be small relative to the element. Chosen.
WIDER = 1024.0
# The slope along the finest steps is known if its bound is at most this share of it. Chosen.
KNOWN = 1 / 64
# A step is too wide if the values move along a finer step by more than this share of their movement
# along it, and by this multiple of their noise. Chosen: a proportional movement gives 1/4.
ROUGH = 0.5
SEEN = 16.0
# The ratio of successive steps; a power of two, so that steps are exact.
STEP_FACTOR = 4.0
# The number of steps. The finest is 1e-7; with finer ones only the rounding of float64 is seen.
STEP_COUNT = 11
# The number of the widest steps that are left out for a large function and for single coordinates,
# to save time.
SKIPPED_OF_LARGE = 3
SKIPPED_OF_COORDINATES = 2
# The number of steps for a large function.
STEP_COUNT_OF_LARGE = 6
# The error of each value in a quotient in units, in addition to the estimate from its size. Chosen.
UNITS_OF_VALUES = 4
# Terms that cancel are taken to be no larger than this multiple of the movement of the element.
# Chosen: a cancellation by a factor of a thousand costs three of sixteen digits.
CANCELLATION = 1000.0
# There is a kink if the slopes to both sides differ by more than this multiple of their error; for
# an element of the gradient the second multiple applies, to ERRORS times the error. Chosen.
KINK = 4.0
KINK_OF_GRADIENT = 2.0
# The distance of neighbouring points at which the gradients to the sides of a kink are taken,
# relative to the point, and their number, of which a large function gets a quarter. Chosen: so near
# that nothing else changes.
NEARBY = 2.0**-30
NEARBY_POINTS = 16

# Random numbers: `_draws.py` and `comparison/_linearity.py`

# The range of cotangents in sixteenths. Sums of two must be exact in bfloat16, which represents
# integers up to 256; the larger number is therefore at most 128.
SMALLEST_COTANGENT = 8
LARGEST_COTANGENT = 40
# The factors by which cotangents are enlarged and reduced, powers of two so that products are
# exact. Gradients below SMALLEST or above its inverse are too close to the ends of the range of
# float64. Chosen.
LARGER = 2.0**12
MUCH_LARGER = 2.0**40
SMALLEST = 1e-250
# The distance of the second point from the first, relative to the point. Chosen.
SECOND_POINT = 0.2
# How often the second point is moved closer, each time by STEP_FACTOR, if the function does not
# exist there. After that the first point is used. Chosen.
SHRINKINGS = 6

# Sizes, which limit the duration of a check

# A function with more elements in arguments and results is large: FEW_SAMPLES, fewer steps.
LARGE = 100_000
# The number of coordinates that are tried one by one if autodiff is not confirmed. If there are
# more, random directions are used.
COORDINATES = 4096
# The number of coordinates of an argument in `linear_in`, and of elements in all points, that are
# tried one by one.
LINEAR_COORDINATES = 1 << 14
LINEAR_NUMBERS = 1 << 25
# The number of elements at a kink that are tried one by one. If there are more, a sample of so many
# is drawn.
KINK_ELEMENTS = 512

# The diagnosis, which no verdict depends on: `diagnosis/` and `taylor_slope`

# The relative error up to which a gradient equals that of a slip: for formulas in float64, for a
# factor in some elements, and in units of the dtype if the rule was called in it. Chosen.
CLOSE = 1e-8
CLOSE_IN_SOME = 1e-6
CLOSE_UNITS = 32
# The relative error of a gradient up to which it is nearly right. Chosen.
LITTLE = 1e-6
# The share of the error of a gradient that a slip may leave unexplained. Chosen.
EXPLAINED = 1 / 8
# The number of convolutions and pools, or of results, of a program up to which they are changed.
SLIP_CONVOLUTIONS = 12
# The number of elements of an operand, and of products, of a convolution that is computed with
# other options.
SLIP_NUMBERS = 1 << 18
SLIP_PRODUCTS = 1 << 22
# The number of elements of a Jacobian, and of each intermediate array for all of its rows.
SLIP_JACOBIAN = 1 << 21
# The number of positions of a result whose contributions may overwrite each other.
SLIP_POSITIONS = 1024
# The number of changed arguments, and of changed cotangents, that are tried without a Jacobian; the
# same, and the number of changed arrays, for a large function; and the number of elements in all of
# these arrays.
SLIP_FEW = 24
SLIP_FEWEST = 8
SLIP_ELEMENTS = 1 << 24
# The largest number of channel groups, and the largest rank of an array whose axes are permuted in
# all orders, that are tried.
SLIP_GROUPS = 8
SLIP_PERMUTED = 4
# The number of elements from which on a constant factor is fitted. One factor explains any two
# elements.
SLIP_FITTED = 3
# How close a fitted factor must be to -1 to be called a wrong sign. Both gradients are rounded.
SLIP_SIGN = 1e-4
# A Taylor remainder counts if it is larger than this multiple of its rounding. Chosen.
SEEN_REMAINDER = 64
