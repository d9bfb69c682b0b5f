"""Why a gradient is wrong: the slip that explains it.

A slip is a known mistake. Each is applied to the true gradient, or to what the true gradient is
computed from; it explains a wrong gradient that equals the result.

    _failures         the failures of a report, one per wrong gradient
    _explain          the diagnosis of one of them
    _places           what the indices of the wrong elements have in common
    _slips            all slips, the simplest first
    _true_rule        the true gradient as equations that can be run with other values
    _array_slips      slips in one array: its elements moved, summed or reordered
    _layouts          which axes of an array are batch, positions, taps and channels
    _factor_slips     factors that are missing or superfluous
    _jacobian_slips   slips that need the Jacobian, such as overlaps that are overwritten
    _geometry_slips   wrong paddings, strides, dilations, groups and windows
    _sliding, _grids  the convolutions and window sums of a program, and their geometry
"""
