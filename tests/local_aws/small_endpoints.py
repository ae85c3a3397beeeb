"""Endpoints small enough to start in a blink, and what tests do with them."""

import threading
import uuid

from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, put_archive

BUCKET = "endpoint-tests"

# Serves what its model's file "text" says: an answer, or a way to fail.
SERVE = """
import http.server, json, os, pathlib, sys, time
model = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model"
text = (model / "text").read_text() if (model / "text").exists() else "no model"
if text == "broken":
    sys.exit("this model is broken")
if text == "slow":
    time.sleep(2)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(1)
        if body.startswith(b"die once "):
            marker = pathlib.Path(body.split()[2].decode())
            if not marker.exists():
                marker.touch()
                os._exit(1)
        if body.startswith(b"sleep "):
            time.sleep(float(body.split()[1]))
            return self.answer(200, b"slept")
        if text == "failing":
            return self.answer(500, b"this model fails")
        if body == b"environment":
            return self.answer(200, json.dumps(dict(os.environ)).encode())
        if body == b"pid":
            return self.answer(200, str(os.getpid()).encode())
        if body.startswith(b"in chunks "):  # and, of "in chunks broken", without an end
            end = b"" if body.endswith(b"broken") else b"0\\r\\n\\r\\n"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\\r\\nfirst\\r\\n6\\r\\nsecond\\r\\n" + end)
            self.close_connection = True
            return None
        if body.startswith(b"status "):
            said = json.dumps({"code": "Refused", "message": "in my own words"}).encode()
            return self.answer(int(body.split()[1]), said, Content_Type="application/json")
        attributes = "seen " + (self.headers["X-Amzn-SageMaker-Custom-Attributes"] or "")
        self.answer(200, text.encode() + b" " + body, Content_Type=self.headers["Accept"] or "text/plain",
                    X_Amzn_SageMaker_Custom_Attributes=attributes)
    def log_message(self, *_):
        print("answered", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def new_name():
    return f"e{uuid.uuid4().hex[:8]}"


def make_config(aws, image, *texts, weights=(), isolated=False, environment=None, config=None, **variant):
    """An endpoint configuration with a variant v0, v1, … for each text; returns its name.

    `variant` is added to each variant (None takes a member away), `config` to the configuration.
    """
    sagemaker, variants = aws("sagemaker"), []
    for number, text in enumerate(texts):
        url = put_archive(aws, BUCKET, f"{text}.tar.gz", text=text)
        container = {"Image": image, "ModelDataUrl": url, "Environment": environment or {}}
        model = new_name()
        sagemaker.create_model(
            ModelName=model, ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=isolated
        )
        made = {
            "VariantName": f"v{number}",
            "ModelName": model,
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": weights[number] if weights else 1,
            **variant,
        }
        variants.append({key: value for key, value in made.items() if value is not None})
    name = new_name()
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **config or {})
    return name


def settled(aws, name, seconds=40):
    """The endpoint's description once nothing changes any more."""

    def described():
        return aws("sagemaker").describe_endpoint(EndpointName=name)

    assert wait_until(lambda: described()["EndpointStatus"] in ("InService", "Failed"), seconds)
    return described()


class Asking:
    """Asks an endpoint again and again, from several threads, until `stop`: (answers, errors), in their order."""

    def __init__(self, aws, name, threads=2, body=b"x"):
        self.answers, self.errors, self._over = [], [], threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(aws, name, body)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, aws, name, body):
        client = aws("sagemaker-runtime")
        while not self._over.is_set():
            try:
                self.answers.append(client.invoke_endpoint(EndpointName=name, Body=body)["Body"].read())
            except Exception as error:
                self.errors.append(error)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


def ask(aws, name, body=b"x", **request):
    runtime = aws("sagemaker-runtime")
    return runtime.invoke_endpoint(EndpointName=name, Body=body, **request)["Body"].read()
