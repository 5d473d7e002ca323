"""Where HTTP reaches the methods of the API.

The rules are the `google.api.http` options of `google/pubsub/v1/pubsub.proto` and `schema.proto`, and
for IAM those of Google's service configuration `pubsub_v1.yaml`. The descriptors that google-cloud-pubsub
ships have neither services nor options, so the rules are listed here; a test compares them with the
library's own REST client.
"""

from __future__ import annotations

from typing import Final

from longcall.broker.api.routing import Binding, PathTemplate, Router

__all__ = ["make_router"]

_TOPIC: Final = "projects/*/topics/*"
_SUBSCRIPTION: Final = "projects/*/subscriptions/*"
_SNAPSHOT: Final = "projects/*/snapshots/*"
_SCHEMA: Final = "projects/*/schemas/*"

_PUBLISHER: Final = (
    ("CreateTopic", "PUT", f"/v1/{{name={_TOPIC}}}", "*"),
    ("UpdateTopic", "PATCH", f"/v1/{{topic.name={_TOPIC}}}", "*"),
    ("Publish", "POST", f"/v1/{{topic={_TOPIC}}}:publish", "*"),
    ("GetTopic", "GET", f"/v1/{{topic={_TOPIC}}}", ""),
    ("ListTopics", "GET", "/v1/{project=projects/*}/topics", ""),
    ("ListTopicSubscriptions", "GET", f"/v1/{{topic={_TOPIC}}}/subscriptions", ""),
    ("ListTopicSnapshots", "GET", f"/v1/{{topic={_TOPIC}}}/snapshots", ""),
    ("DeleteTopic", "DELETE", f"/v1/{{topic={_TOPIC}}}", ""),
    ("DetachSubscription", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:detach", ""),
)
_SUBSCRIBER: Final = (
    ("CreateSubscription", "PUT", f"/v1/{{name={_SUBSCRIPTION}}}", "*"),
    ("GetSubscription", "GET", f"/v1/{{subscription={_SUBSCRIPTION}}}", ""),
    ("UpdateSubscription", "PATCH", f"/v1/{{subscription.name={_SUBSCRIPTION}}}", "*"),
    ("ListSubscriptions", "GET", "/v1/{project=projects/*}/subscriptions", ""),
    ("DeleteSubscription", "DELETE", f"/v1/{{subscription={_SUBSCRIPTION}}}", ""),
    ("ModifyAckDeadline", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:modifyAckDeadline", "*"),
    ("Acknowledge", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:acknowledge", "*"),
    ("Pull", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:pull", "*"),
    ("ModifyPushConfig", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:modifyPushConfig", "*"),
    ("GetSnapshot", "GET", f"/v1/{{snapshot={_SNAPSHOT}}}", ""),
    ("ListSnapshots", "GET", "/v1/{project=projects/*}/snapshots", ""),
    ("CreateSnapshot", "PUT", f"/v1/{{name={_SNAPSHOT}}}", "*"),
    ("UpdateSnapshot", "PATCH", f"/v1/{{snapshot.name={_SNAPSHOT}}}", "*"),
    ("DeleteSnapshot", "DELETE", f"/v1/{{snapshot={_SNAPSHOT}}}", ""),
    ("Seek", "POST", f"/v1/{{subscription={_SUBSCRIPTION}}}:seek", "*"),
)
_SCHEMA_SERVICE: Final = (
    ("CreateSchema", "POST", "/v1/{parent=projects/*}/schemas", "schema"),
    ("GetSchema", "GET", f"/v1/{{name={_SCHEMA}}}", ""),
    ("ListSchemas", "GET", "/v1/{parent=projects/*}/schemas", ""),
    ("ListSchemaRevisions", "GET", f"/v1/{{name={_SCHEMA}}}:listRevisions", ""),
    ("CommitSchema", "POST", f"/v1/{{name={_SCHEMA}}}:commit", "*"),
    ("RollbackSchema", "POST", f"/v1/{{name={_SCHEMA}}}:rollback", "*"),
    ("DeleteSchemaRevision", "DELETE", f"/v1/{{name={_SCHEMA}}}:deleteRevision", ""),
    ("DeleteSchema", "DELETE", f"/v1/{{name={_SCHEMA}}}", ""),
    ("ValidateSchema", "POST", "/v1/{parent=projects/*}/schemas:validate", "*"),
    ("ValidateMessage", "POST", "/v1/{parent=projects/*}/schemas:validateMessage", "*"),
)
_IAM: Final = tuple(
    (method, verb, f"/v1/{{resource={resource}}}:{method[0].lower()}{method[1:]}", body)
    for method, verb, body in (
        ("SetIamPolicy", "POST", "*"),
        ("GetIamPolicy", "GET", ""),
        ("TestIamPermissions", "POST", "*"),
    )
    for resource in (_TOPIC, _SUBSCRIPTION, _SNAPSHOT, _SCHEMA)
)
_SERVICES: Final = {
    "google.pubsub.v1.Publisher": _PUBLISHER,
    "google.pubsub.v1.Subscriber": _SUBSCRIBER,
    "google.pubsub.v1.SchemaService": _SCHEMA_SERVICE,
    "google.iam.v1.IAMPolicy": _IAM,
}


def make_router() -> Router:
    """Return what finds the method of an HTTP request."""
    return Router(
        Binding(service, method, verb, PathTemplate(path), body)
        for service, rules in _SERVICES.items()
        for method, verb, path, body in rules
    )
