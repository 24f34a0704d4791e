"""English stop words."""

import re

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about all an and any are as at be been but by can could did do does down each every for from had
        has have he her here his how i if in into is it its may might must my no nor not of off on one onto
        or our out over she should so some than that the their then there these they this those to under up
        upon was we were what when where which who whom whose why will with would you your""",
    )
)
