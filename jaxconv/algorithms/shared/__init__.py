"""What the platforms share: the mathematics of algorithms and pools, without hints to a compiler.

_dtypes          dtypes of sums and of moved elements
_arrays          feature groups, rotated kernels, sums in loops
_padding         padding, cropping and dilation of spatial axes; phases as axes
_taps            what each tap of a window sees, and the transpose
_over_taps       sums over all taps of all windows
_hints           hints to a compiler; none by default
_direct, _tiles  the two algorithms that run on every platform
_phases          strides and dilations taken apart into phases
_sums            sums over windows
_maxima          the largest element of each window
_adjacent        windows that lie side by side, by a reshape
_resampling      interpolation, and windows of unequal size
"""
