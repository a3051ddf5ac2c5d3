"""How the API server is told of the webhook, and whom to believe."""

import base64

from builders_chart import A_BUNDLE, NAME, NAMESPACE, WEBHOOK, Manifest, all_of, every_mode, kinds, needs_helm, the
from checkpointheal_operator.core.injection_settings import INJECT

pytestmark = needs_helm


def webhook_of(manifests: list[Manifest]) -> Manifest:
    (only,) = the("MutatingWebhookConfiguration", NAME, manifests)["webhooks"]
    return only


def test_reviews_are_asked_for_as_carefully_as_can_be():
    assert INJECT == "checkpointheal.dev/inject"
    assert webhook_of(all_of()) == {
        "name": "pods.checkpointheal.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": WEBHOOK, "namespace": NAMESPACE, "path": "/mutate", "port": 443}},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
                "operations": ["CREATE"],
                "scope": "Namespaced",
            }
        ],
        "objectSelector": {"matchLabels": {INJECT: "true"}},
        "namespaceSelector": {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]},
                {"key": INJECT, "operator": "NotIn", "values": ["false"]},
            ]
        },
        "matchConditions": [
            {
                "name": "not-a-mirror-pod",
                "expression": "!has(object.metadata.annotations) || "
                "!('kubernetes.io/config.mirror' in object.metadata.annotations)",
            }
        ],
        "matchPolicy": "Equivalent",
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "timeoutSeconds": 2,
    }


def test_namespaces_can_be_left_out_further():
    more = {"key": "team", "operator": "In", "values": ["a"]}
    selector = webhook_of(all_of("process", ("webhook.namespaceSelector", [more])))["namespaceSelector"]
    assert selector["matchExpressions"][2:] == [more]
    assert selector["matchExpressions"][0]["values"] == ["kube-system", NAMESPACE]


@every_mode
def test_the_api_server_is_told_whom_to_believe_by_whoever_knows(mode):
    manifests = all_of(mode)
    configuration = the("MutatingWebhookConfiguration", NAME, manifests)
    annotations = configuration["metadata"].get("annotations", {})
    assert ("caBundle" in webhook_of(manifests)["clientConfig"]) == (mode == "secret")
    assert annotations == (
        {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{WEBHOOK}-tls"} if mode == "certManager" else {}
    )
    assert ("Certificate" in kinds(manifests)) == (mode == "certManager")


@every_mode
def test_the_configuration_bears_annotations_of_ones_own_beside_ours(mode):
    ours = {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{WEBHOOK}-tls"} if mode == "certManager" else {}
    mine = {"admissions.enforcer/disabled": "true"} | dict.fromkeys(ours, "mine/other")
    manifests = all_of(mode, ("webhook.configurationAnnotations", mine))
    assert the("MutatingWebhookConfiguration", NAME, manifests)["metadata"]["annotations"] == mine | ours


def test_a_bundle_is_written_as_the_api_server_wants_it():
    bundle = webhook_of(all_of("secret"))["clientConfig"]["caBundle"]
    assert base64.b64decode(bundle, validate=True).decode() == A_BUNDLE


def test_cert_manager_makes_an_authority_first_or_uses_yours():
    manifests = all_of("certManager")
    certificate = the("Certificate", f"{WEBHOOK}-tls", manifests)["spec"]
    issuer = the("Issuer", certificate["issuerRef"]["name"], manifests)
    authority = the("Certificate", f"{WEBHOOK}-tls-authority", manifests)["spec"]
    assert issuer["spec"]["ca"]["secretName"] == authority["secretName"]
    assert authority["isCA"] is True
    assert the("Issuer", authority["issuerRef"]["name"], manifests)["spec"] == {"selfSigned": {}}
    assert certificate["dnsNames"][0] == f"{WEBHOOK}.{NAMESPACE}.svc"
    mine = {"name": "corporate", "kind": "ClusterIssuer"}
    manifests = all_of("certManager", ("webhook.certificate.issuerRef", mine))
    assert the("Certificate", f"{WEBHOOK}-tls", manifests)["spec"]["issuerRef"] == mine
    assert "Issuer" not in kinds(manifests)
