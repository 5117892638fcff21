"""Losses: functions on tensors, one family a file. Each computes in fp32 whatever precision it is given."""
