#!/bin/bash
# Run by SageMaker, as root, at each start of the notebook, for five minutes at most; its log is the notebook's stream
# …/LifecycleConfigOnStart of /aws/sagemaker/NotebookInstances. ${NAME} in braces is filled in at synthesis.
set -eu

# First of all: what stops it. systemd is there on every platform of notebooks, cron is not.
install -d /opt/amplify
cat > /opt/amplify/stop_when_idle.py <<'END_OF_FILE'
${STOP_WHEN_IDLE}
END_OF_FILE
systemd-run --unit=amplify-stop-when-idle --on-active=5min --on-unit-active=5min \
    /usr/bin/env PATH=/usr/local/bin:/usr/bin:/bin python3 /opt/amplify/stop_when_idle.py ${IDLE_MINUTES}

# A project or kernel that cannot be had is no reason for people not to get at their notes.
if ! sudo -u ec2-user -i bash -eu <<'END_OF_FILE'
home=/home/ec2-user
cd "$home"
rm -rf amplify.partial && mkdir amplify.partial
aws s3 cp --only-show-errors '${PROJECT}' amplify.partial/project.zip
echo '${PROJECT_SHA256}  amplify.partial/project.zip' | sha256sum --check --quiet
python3 -m zipfile -e amplify.partial/project.zip amplify.partial/project
# Not on the disk that stays, and not to be written to: it is the project as deployed, and what people write lies beside.
chmod -R a-w amplify.partial/project
[ ! -e amplify ] || { chmod -R u+w amplify && rm -r amplify; }
mv amplify.partial/project amplify && rm -r amplify.partial
ln -sfn "$home/amplify" SageMaker/amplify

# The newest PyTorch of the notebook's own, else its plain Python: nothing can be installed from here.
python=$(ls -d "$home"/anaconda3/envs/pytorch*/bin/python "$home"/anaconda3/envs/python3/bin/python 2>/dev/null | sort -V | tail -n 1)
[ -n "$python" ] || { echo 'This notebook has neither a PyTorch nor a plain Python environment.' >&2; exit 1; }
mkdir -p .local/share/jupyter/kernels/amplify
cat > .local/share/jupyter/kernels/amplify/kernel.json <<END_OF_KERNEL
{"display_name": "AMPLIFY", "language": "python",
 "argv": ["$python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
 "env": {"PYTHONPATH": "$home/amplify:$home/amplify/model_code"}}
END_OF_KERNEL
END_OF_FILE
then echo 'The project or its kernel is not there; what was written before is.' >&2; fi
