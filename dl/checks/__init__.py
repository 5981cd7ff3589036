"""The checks of the exercises.

course, exercise            which exercises there are; what an exercise and its test cases are made of
captioning, transformers …  the test cases of each topic
references/, mistakes/      right answers, and known mistakes as patches on them (absent in the student edition)
published, expected/        tensors recorded in the course's specification
library, calls              the student's side: load the code, call it, collect what it returns
child, confine, wire        the process in which that happens, what it may not do, and how plain data come and go
processes                   the judging side of that process
answers, compare, judge     the judging side: right answers, comparison, verdicts and messages
examiner                    an exercise's way through both; the notebooks, pytest and `dl.commands.check` use it
"""
