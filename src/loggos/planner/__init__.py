"""Capacity planning: how many machines, of what size, and why.

    maths/        operational laws, bounds, queueing formulas, mean value analysis, scalability law, availability; pure
    observe/      measurements from CSV and Prometheus
    fit/          models from measurements, with their intervals, their goodness and the range in which they hold
    forecast/     what the load will be, judged against the seasonal naive forecast
    plan/         intent and prices to numbers and sizes of nodes; alternatives; sizing rules of well-known systems
    advise/       what an application needs to the services and configuration that fit, and what is given up
    report/       a plan as one HTML page or as Markdown

Must not know: the log, other services.
"""
