"""The derivative that the rules give, compared with the truth.

_derivatives      the derivatives by the rules and the true ones, traced and evaluated
_evidence         all that is known before the comparison
_findings         what was found wrong
_first_order      reverse and forward mode
_primal_values    the values that the rules return
_linearity        the linearity of the rules in cotangents and tangents
_cancellation     gradients without a correct digit
_other_modes      vmap, jit, scan, checkpoint and other ways to a first derivative
_second_order     the compositions of the modes
"""
