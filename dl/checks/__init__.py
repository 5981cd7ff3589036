"""The checks of the exercises.

course, exercise            which exercises there are; what an exercise and its test cases are made of
captioning, transformers …  the test cases of each topic
references/, mistakes/      right answers, and known mistakes as patches on them (absent in the student edition)
published, expected/        tensors recorded in the course's specification
library, calls              the student's side: load the code, call it, collect what it returns
answers, compare, judge     the judging side: right answers, comparison, verdicts and messages
examiner                    an exercise's way through both; `dl.sandbox` runs the student's side in a process of its own
"""
