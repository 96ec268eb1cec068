"""Formulas of the pair copulas, one module per family, with the same function names in each.

- ``tau_to_parameter(tau, xp)`` and ``parameter_to_tau(parameter)``;
- ``logpdf``, ``cdf`` and ``loghfunc2``, all ``(u, v, tau, xp)``, written once for every array namespace ``xp``;
- ``hinv2(p, v, tau)`` and ``tail_dependence(tau)`` for NumPy.

They hold on the closed unit square and do not broadcast their arguments: each result has the broadcast
shape of all three. `bayescascade.copulas.Family` is the face they are called through.
"""
