"""What runs beside the artifact: validators, their supervisor and confinement, the fetcher, the model server.

These are programs of their own, started with the validators' interpreter or image; they see the domain and nothing
else of ours, and no Airflow.
"""
