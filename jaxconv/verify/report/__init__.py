"""The report of a check.

_contents         what a report holds
_rendering        a report as text, HTML, JSON and for a terminal
_figure           a report as a picture
_report           `GradientReport`: the contents with methods that show them
"""
