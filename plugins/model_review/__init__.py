"""The review room: pages and a JSON API inside the Airflow UI, where people decide on promotions.

It decides nothing itself. It knows who is asking (through Airflow's auth manager), calls the use cases of
`model_approval.stages`, and shows what the review store holds. Never imports an outside system's SDK.
"""
