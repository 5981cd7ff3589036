"""Two whole solutions of the course by people of different habits; tests/test_two_styles.py hands both in."""
