"""What each mechanism for hand-written derivatives can do: `python -m experiments.forms`.

rivals      one function, written for each mechanism
__main__    tries every transformation with every mechanism, and prints a table
"""
