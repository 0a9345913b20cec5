"""The workbench: a server on this machine that shows a run, and asks a detector about images, for a page in a browser.

A request goes from ``guard`` (who may ask) through the routes to ``model_queue``, whose one thread has the detectors to
itself and answers in the order of arrival. What is asked of a detector is a file each in ``asks/``.
"""
