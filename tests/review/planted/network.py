"""Ways in and out that were closed."""

from tests.review.workshop import Planted

NETWORK = "stacks/constructs/private_network.py"
DOORS = "stacks/constructs/service_endpoints.py"
TO_S3 = "                destination_prefix_list_id=self._s3_prefix_list,"
DISABLED = 'direct_internet_access="Disabled"'

TABLE = (
    Planted(
        name="out to anywhere",
        edits=((NETWORK, TO_S3, '                cidr_ip="0.0.0.0/0",'),),
        expect={"exposure": "stop"},
        says="may reach any address, tcp 443",
    ),
    Planted(
        name="in from anywhere",
        edits=(
            (
                NETWORK,
                "    @property\n    def subnet_ids",
                "        self.endpoints_group.add_ingress_rule(ec2.Peer.any_ipv4(), HTTPS)\n\n    @property\n    def subnet_ids",
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="any address may reach",
    ),
    Planted(
        name="out to half of the internet, twice",
        edits=(
            (
                NETWORK,
                "    @property\n    def subnet_ids",
                '        for half in ("0.0.0.0/1", "128.0.0.0/1"):\n'
                "            self.endpoints_group.add_ingress_rule(ec2.Peer.ipv4(half), HTTPS)\n\n"
                "    @property\n    def subnet_ids",
            ),
        ),
        expect={"exposure": "stop"},
        says="128.0.0.0/1 may reach",
    ),
    Planted(
        name="in from an office",
        edits=(
            (
                NETWORK,
                "    @property\n    def subnet_ids",
                '        self.endpoints_group.add_ingress_rule(ec2.Peer.ipv4("10.9.0.0/16"), HTTPS)\n\n'
                "    @property\n    def subnet_ids",
            ),
        ),
        expect={"exposure": "look"},
        says="10.9.0.0/16 may reach",
    ),
    Planted(
        name="a door less",
        edits=(
            (
                DOORS,
                "            for statement in passing[service]:\n",
                '            if service == "monitoring":\n'
                '                self.node.try_remove_child("Monitoring")\n'
                "            for statement in passing[service]:\n",
            ),
        ),
        expect={"destructive": "stop"},
        says="ServicesMonitoring (EC2::VPCEndpoint) is removed",
    ),
    Planted(
        name="every port among groups",
        edits=((NETWORK, 'allow_from(group, HTTPS, "AWS', 'allow_from(group, ec2.Port.all_traffic(), "AWS'),),
        expect={"exposure": "look"},
        says="every port",
    ),
    Planted(
        name="a gateway to the internet",
        edits=(
            (
                NETWORK,
                "        self._let_in_and_out_of_s3(buckets)\n",
                '        self._let_in_and_out_of_s3(buckets)\n        gateway = ec2.CfnInternetGateway(self, "Gateway")\n        table = self.vpc.isolated_subnets[0].route_table.route_table_id\n        ec2.CfnRoute(self, "Out", route_table_id=table, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.ref)\n',
            ),
        ),
        expect={"exposure": "stop"},
        says="a route to any address",
    ),
    Planted(
        name="doors without a condition",
        edits=((DOORS, '            conditions={"StringEquals": conditions},\n', ""),),
        expect={"exposure": "stop"},
        says="no longer only where aws:PrincipalAccount",
    ),
    Planted(
        name="doors without a policy",
        edits=(
            (
                DOORS,
                "            for statement in passing[service]:\n                endpoint.add_to_policy(statement)\n",
                "",
            ),
        ),
        expect={"exposure": "stop"},
    ),
    Planted(
        name="any bucket through the door",
        edits=((NETWORK, 'resources=[bucket.arn_for_objects("*") for bucket in buckets]', 'resources=["*"]'),),
        expect={"exposure": "stop"},
    ),
    Planted(
        name="private names off",
        edits=((DOORS, "private_dns_enabled=True", "private_dns_enabled=False"),),
        expect={"exposure": "look"},
    ),
    Planted(
        name="connections no longer recorded",
        edits=(
            (
                "stacks/constructs/flow_log.py",
                "        flow_log = ec2.CfnFlowLog(",
                "        return\n        flow_log = ec2.CfnFlowLog(",
            ),
        ),
        expect={"exposure": "look", "policy": "stop"},
        says="is gone",
    ),
    Planted(
        name="a model outside of the network",
        edits=(
            (
                "stacks/constructs/served_model.py",
                "            vpc_config=None\n            if vpc is None\n",
                "            vpc_config=None\n            if True\n",
            ),
        ),
        expect={"exposure": "stop"},
        says="outside of the private network",
    ),
    Planted(
        name="a model with a network of its own",
        edits=(
            (
                "stacks/constructs/served_model.py",
                "enable_network_isolation=isolated",
                "enable_network_isolation=False",
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="EnableNetworkIsolation",
    ),
    Planted(
        name="training with a network",
        environment="dev",
        edits=(
            (
                "stacks/pipeline_definition.py",
                '            "EnableNetworkIsolation": True,\n',
                '            "EnableNetworkIsolation": False,\n',
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="EnableNetworkIsolation on → off",
    ),
    Planted(
        name="a notebook on the internet",
        starts_from="with a workbench",
        edits=(("stacks/constructs/private_notebook.py", DISABLED, DISABLED.replace("Disabled", "Enabled")),),
        expect={"exposure": "stop", "destructive": "stop", "policy": "stop"},
        says="DirectInternetAccess: Disabled → Enabled",
    ),
    Planted(
        name="a function for everybody",
        environment="dev",
        edits=(
            (
                "stacks/constructs/small_function.py",
                "            dead_letter_queue=dead_letters,\n        )\n",
                "            dead_letter_queue=dead_letters,\n        )\n        self.function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.NONE)\n",
            ),
        ),
        expect={"exposure": "stop"},
        says="a function that the internet reaches",
    ),
    Planted(
        name="somebody more who hears alarms",
        edits=(
            (
                "environments.py",
                "Monitoring(monthly_budget_usd=5_000)",
                'Monitoring(monthly_budget_usd=5_000, alarm_emails=("x@example.org",))',
            ),
        ),
        expect={"exposure": "look"},
        says="somebody more who is told",
    ),
    Planted(
        name="a bucket that is a web site",
        edits=(
            (
                "stacks/constructs/private_bucket.py",
                "            bucket_key_enabled=True,",
                '            website_index_document="index.html",\n            bucket_key_enabled=True,',
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="it is a web site",
    ),
    Planted(
        name="public buckets possible",
        edits=(
            (
                "stacks/constructs/private_bucket.py",
                "            bucket_key_enabled=True,  # one KMS call per bucket and while, not one per object: shards are many\n            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,",
                "            bucket_key_enabled=True,\n            block_public_access=s3.BlockPublicAccess.BLOCK_ACLS_ONLY,",
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="public access is no longer blocked",
    ),
)
