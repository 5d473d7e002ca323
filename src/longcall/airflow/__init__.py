"""The Airflow provider: operator, task group, triggers. The only room that imports Airflow."""
