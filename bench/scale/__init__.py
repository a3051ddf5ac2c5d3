"""How do webhook and operator bear many pods and many restarts? `python -m bench.scale [NAME …] [--cluster CONTEXT]`.

Operator and webhook are processes of their own, as the images start them. The API server is the tests' fake one, over
real HTTP in a third process: what it costs on the same cores is in every figure.
"""
