"""The use cases, one module per step of a promotion.

`request`, `intake`, `validation`, `review`, `deployment`, `closing` do not know each other. They lean on
`evidence`, `signing` and `probe`, these on `progress` (state changes, written to the audit log before they take
effect), and that on `audit`.
"""
