"""Every number that the verdict depends on and that no arithmetic gives.

The bounds themselves come from the arithmetic: the unit of a dtype, the terms of a sum, how far a
perturbed evaluation moves, how far two extrapolations disagree. These are estimates, of which a
verdict needs a multiple; the multiples are here, with the numbers of evaluations that an estimate
takes and the sizes above which less is evaluated.

`python -m experiments.verifier --sensitivity` multiplies and divides each of them by 4 and counts
the wrong gradients that are then missed and the right ones that are then called wrong.

"Chosen" says that a number has no derivation: what speaks for it is that on the cases of
experiments/verifier no right gradient is called wrong and no wrong one is missed.

Numbers that no verdict depends on, such as sizes of batches and lengths of lines, stand where they
are used. So do the units of formats and the terms of sums, which are facts.
"""

# Rounding, `_rounding.py` and `_operations.py`

# A gradient is wrong where it is off by more than this many times its rounding, which is the root
# mean square over SAMPLES perturbed evaluations. Chosen: the mean of so few may be low by a factor
# of 2 or 3, and a result is off by 2 or 3 times its own mean at times. An evaluation moves each
# operation by 1/2 to 3/2 of what it may be off by.
MARGIN = 8.0
# Perturbed evaluations. Chosen: more take longer, fewer know the rounding less well.
SAMPLES = 6
# The same for large functions, whose elements are many, and for second derivatives.
FEW_SAMPLES = 3
# The same before a rule is called wrong for the rounding of its own dtype alone. Chosen: near a tie
# the choice may fall either way, which SAMPLES evaluations can miss.
SECOND_LOOK = 64
# A program's constants, rounded to its dtype, move the result by at most this many times the most
# that was seen over SAMPLES combinations of their signs, of all that there are. Chosen.
ROUNDED_CONSTANTS = 1.5
# Units that a function such as `exp` may be off by. Libraries state 1 to 4 for most.
UNITS_OF_FUNCTIONS = 4
# Units of float64 that an expected number is rounded by on its way to the comparison: an addition
# or two, and a conversion. Counted generously.
UNITS_OF_COMPARISON = 4
# Bounds of two results that are both rounded, or of a mode that goes argument by argument and adds
# up as many terms again, are this many times those of one. Counted.
TWO_ROUNDINGS = 2.0
# Units by which `reference` may differ from the function's values: two formulas of one function,
# each with its own rounding. Chosen.
UNITS_OF_REFERENCE = 64

# The value that a rule returns differs from the function's by at most this share of the largest of
# its array, even where rounding tips a choice. Chosen.
SHARE_OF_VALUE = 1 / 16
# What a loop is exact to that stops when floating-point numbers say so: half the digits, which most
# solvers are asked for at least. Chosen.
STOPPING = 2.0**-26
# What one more round of such a loop moves its result by, times this, is what it is exact to: rounds
# move less and less, and the derivative by more than the value. Chosen.
ROUNDS = 16
# The largest jump between neighbouring points, as a share of the values, that is taken for noise.
# Chosen: one larger is what the function does.
MOST_NOISE = 1e-4
# The largest distance between the points that are looked at for it, as a share of the point's size,
# and the units from which on a step between two that come together is one. Chosen.
DISTANCE = 1e-4
JUMP = 64
# A gradient has no correct digit where rounding moves it by more than it is and by so many times
# what half a unit of the function's values makes of a slope. Chosen.
AMPLIFIED = 2.0**13
# So many times the rounding moves it in proportion, by more than the second number times as much;
# where a choice tips it doesn't. Chosen.
COARSER = 16.0
IN_PROPORTION = 4.0

# Differences, `_differences.py`, `_truth.py` and `_kinks.py`

# A slope is off by at most this many times what its extrapolations disagree by. Chosen: the
# disagreement knows the error by its order of magnitude.
ERRORS = 16.0
# The widest step, as a share of the point's size. Chosen: no more than that is called near.
FIRST_STEP = 2.0**-3
# The most by which a small element's steps are wider than its size, in an array of larger ones. The
# finest steps must stay small beside it. Chosen.
WIDER = 1024.0
# The slope along the finest steps says something where its bound is no more than this share of it.
# Chosen.
KNOWN = 1 / 64
# A step is too wide where values move by more than this share of what they move along it when they
# move along a finer one, and by so many times their noise. Chosen: in proportion it would be 1/4.
ROUGH = 0.5
SEEN = 16.0
# Each step is so many times smaller than the one before; a power of two, so that steps are exact.
STEP_FACTOR = 4.0
# How many steps: down to 1e-7, below which rounding is all that is seen of a function in float64.
STEP_COUNT = 11
# Of a large function and of single coordinates the widest steps are left out, to save time.
SKIPPED_OF_LARGE = 3
SKIPPED_OF_COORDINATES = 2
# Steps for a large function.
STEP_COUNT_OF_LARGE = 6
# Units by which each value in a quotient may be off, beside what its size says. Chosen.
UNITS_OF_VALUES = 4
# Terms that cancel are taken to be no larger than this many times what the element moves by.
# Chosen: a thousandfold cancellation costs three of sixteen digits.
CANCELLATION = 1000.0
# The slopes to both sides differ, and there is a kink, where they are further apart than this many
# times their error; of a gradient's element, than so many times ERRORS such errors. Chosen.
KINK = 4.0
KINK_OF_GRADIENT = 2.0
# How far points are from the first that see the sides of its kinks, as a share of its size, and how
# many they are; of a large function a quarter. Chosen: near enough that nothing else changes.
NEARBY = 2.0**-30
NEARBY_POINTS = 16

# Random numbers, `_derivatives.py`

# Cotangents are between these sixteenths. Sums of two must be exact in bfloat16, whose whole
# numbers end at 256: so the larger is at most 128.
SMALLEST_COTANGENT = 8
LARGEST_COTANGENT = 40
# Cotangents are taken so many times larger, and smaller, a little and a lot; powers of two, so that
# products are exact. Gradients below the last number, or above its inverse, are too near the ends
# of float64's range. Chosen.
LARGER = 2.0**12
MUCH_LARGER = 2.0**40
SMALLEST = 1e-250
# The second point's distance from the first, as a share of the point's size. Chosen.
SECOND_POINT = 0.2
# How often it is brought nearer, each time by STEP_FACTOR, where the function doesn't exist at it;
# then the first is used again. Chosen.
SHRINKINGS = 6

# Sizes, which bound the time that a check takes

# Numbers in arguments and results above which a function is large: FEW_SAMPLES, fewer steps.
LARGE = 100_000
# Coordinates of all arguments that are tried one by one where autodiff isn't confirmed; of more,
# random directions are.
COORDINATES = 4096
# Coordinates of an argument in `linear_in`, and numbers that they make, that are tried one by one.
LINEAR_COORDINATES = 1 << 14
LINEAR_NUMBERS = 1 << 25
# Elements at a kink that are tried one by one; of more, so many are drawn.
KINK_ELEMENTS = 512

# What the report says, no verdict: `_diagnosis.py`, `_slips.py` and `taylor_slope`

# Relative error of a gradient that equals a slip's: of formulas in float64, of a factor in some
# elements, and in units of the dtype where the rule was called in it. Chosen.
CLOSE = 1e-8
CLOSE_IN_SOME = 1e-6
CLOSE_UNITS = 32
# A gradient's error, as a share of it, that is called little. Chosen.
LITTLE = 1e-6
# The share of what a gradient is off by that a slip may leave unexplained. Chosen.
EXPLAINED = 1 / 8
# Convolutions and pools, or results, of a program that is tried with others.
SLIP_CONVOLUTIONS = 12
# Numbers of an operand, and products, of a convolution that is tried with other options.
SLIP_NUMBERS = 1 << 18
SLIP_PRODUCTS = 1 << 22
# Numbers of a Jacobian, and of each intermediate array for all its rows.
SLIP_JACOBIAN = 1 << 21
# Positions of a result, one of which may be written over the other.
SLIP_POSITIONS = 1024
# Programs that are run for changed arguments, and for changed cotangents, where there is no
# Jacobian; the same, and arrays that are changed, of a large function; numbers in all such arrays.
SLIP_FEW = 24
SLIP_FEWEST = 8
SLIP_ELEMENTS = 1 << 24
# Numbers of channel groups, and axes of an array in every order, that are tried.
SLIP_GROUPS = 8
SLIP_PERMUTED = 4
# Elements from which on a constant is fitted beside a factor; it explains any two.
SLIP_FITTED = 3
# A remainder is seen where it is larger than so many times its rounding. Chosen.
SEEN_REMAINDER = 64
