"""Where a student's code runs: in a process of its own, which cannot harm the one that judges.

confine      what such a process may not do, in layers
child        that process: loads the code, calls an exercise, sends back what came out
wire         plain data between the two; nothing is pickled
processes    the judging side of it, for `dl.checks.examiner.Examiner`
verdicts     check, require and hint, as the notebooks use them
"""
