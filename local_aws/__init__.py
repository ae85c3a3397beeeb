"""AWS on this machine: ministack, and SageMaker as a plug-in of it whose jobs and endpoints are real processes.

`server` is the public face (start, stop, status, client_environment); `python -m local_aws` is the same for people.
Inside the server's process `host` puts ministack, its corrections (`ministack_hooks`) and the SageMaker API (`api`)
together. Everything it keeps lies in one folder; everything it opens is on 127.0.0.1.
"""
