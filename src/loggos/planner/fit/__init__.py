"""Models from measurements: parameters with their intervals, how good they are, and the range in which they hold. Pure.

    points.py    what was measured: pairs of load and value, checked
    models.py    what can be fitted: scalability laws, queues, demands, lines, powers
    regress.py   least squares with bounds, standard errors, intervals
    fit.py       `fit(models, points)`: the model that best predicts what it has not seen, and its predictions
    demands.py   service demands of several classes of requests from utilisation and throughputs

Must not know: where measurements come from, prices, plans.
"""
