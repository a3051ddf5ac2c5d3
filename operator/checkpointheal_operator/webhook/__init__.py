"""The admission webhook: pods in, patches out. It has no rights in the API and no memory."""
