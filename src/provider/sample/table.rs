//! The samples: facts from the providers' guides, and where in each the telling values stand.
//! Where a guide names an event without showing it, the fields are those of its other samples.

use super::{IdPlace, Sample};
use crate::provider::Preset;

macro_rules! text {
    ($file:literal) => {
        include_str!(concat!("../samples/", $file, ".json"))
    };
}

/// A sample without note that is no handshake.
const fn sample(
    preset: Preset,
    event_type: &'static str,
    text: &'static str,
    kind: Option<&'static str>,
    id: IdPlace,
    times: &'static [&'static str],
) -> Sample {
    Sample { preset, event_type, note: "", handshake: false, text, kind, id, times }
}

const fn novamed(
    event: &'static str,
    text: &'static str,
    times: &'static [&'static str],
) -> Sample {
    sample(Preset::NovaMed, event, text, Some("/event_type"), IdPlace::Body("/event_id"), times)
}

/// The newer edition of NovaMed's guide: other names, and no event id.
const fn novamed_newer(
    event: &'static str,
    text: &'static str,
    entity: &'static str,
    times: &'static [&'static str],
) -> Sample {
    let id = IdPlace::Body(entity);
    let newer = sample(Preset::NovaMed, event, text, Some("/event_name"), id, times);
    Sample { note: "newer edition, no id", ..newer }
}

const fn c4hxp(
    event: &'static str,
    text: &'static str,
    id: &'static str,
    times: &'static [&'static str],
) -> Sample {
    sample(Preset::C4hxp, event, text, Some("/event"), IdPlace::Body(id), times)
}

const fn nimbus(
    event: &'static str,
    text: &'static str,
    entity: &'static str,
    times: &'static [&'static str],
) -> Sample {
    sample(Preset::Nimbus, event, text, Some("/event_name"), IdPlace::Body(entity), times)
}

const fn drx(event: &'static str, text: &'static str, times: &'static [&'static str]) -> Sample {
    sample(Preset::Drx, event, text, Some("/event"), IdPlace::Body("/id"), times)
}

const fn rxscale(event: &'static str, text: &'static str) -> Sample {
    let times = &["/timestamp"];
    sample(Preset::RxScale, event, text, Some("/event_type"), IdPlace::Body("/data/uid"), times)
}

const fn stripe(event: &'static str, text: &'static str) -> Sample {
    sample(Preset::Stripe, event, text, Some("/type"), IdPlace::Body("/id"), &["/created"])
}

const fn github(event: &'static str, text: &'static str) -> Sample {
    let id = IdPlace::Header("72d3162e-cc78-11e3-81ab-4c9367dc0958");
    sample(Preset::GitHub, event, text, None, id, &[])
}

/// Every sample, the most typical of each preset first.
pub(super) static SAMPLES: &[Sample] = &[
    novamed("order:shipped", text!("novamed/order-shipped"), &["/timestamp"]),
    novamed(
        "medication_request:approved",
        text!("novamed/medication_request-approved"),
        &["/timestamp", "/data/approved_at"],
    ),
    novamed_newer(
        "order:shipped",
        text!("novamed/order-shipped.newer"),
        "/event_data/order_id",
        &[],
    ),
    novamed_newer(
        "medication_request:approved",
        text!("novamed/medication_request-approved.newer"),
        "/event_data/medication_request_id",
        &["/event_data/approved_at"],
    ),
    c4hxp(
        "order.created",
        text!("c4hxp/order.created"),
        "/meta/webhook_id",
        &["/meta/timestamp", "/data/created_at"],
    ),
    Sample {
        note: "webhook_id as before",
        ..c4hxp(
            "order.confirmed",
            text!("c4hxp/order.confirmed"),
            "/meta/webhook_id",
            &["/meta/timestamp"],
        )
    },
    Sample {
        note: "no meta, so no id",
        ..c4hxp(
            "order.shipped",
            text!("c4hxp/order.shipped"),
            "/data/order_number",
            &["/data/shipped_at"],
        )
    },
    Sample {
        note: "no meta, so no id",
        ..c4hxp(
            "kit.registered",
            text!("c4hxp/kit.registered"),
            "/data/kit_barcode",
            &["/data/registered_at"],
        )
    },
    Sample {
        note: "no meta, so no id",
        ..c4hxp(
            "results.available",
            text!("c4hxp/results.available"),
            "/data/kit_barcode",
            &["/data/completed_at"],
        )
    },
    Sample {
        note: "no id in any event",
        ..nimbus(
            "shipment:created",
            text!("nimbus/shipment-created"),
            "/event_data/shipment_id",
            &["/event_data/shipped_at"],
        )
    },
    Sample {
        note: "same shipment again",
        ..nimbus(
            "shipment:cancelled",
            text!("nimbus/shipment-cancelled"),
            "/event_data/shipment_id",
            &["/event_data/cancelled_at"],
        )
    },
    nimbus(
        "medication:updated",
        text!("nimbus/medication-updated"),
        "/event_data/medication_order_id",
        &["/event_data/updated_at"],
    ),
    drx(
        "prescription.status.changed",
        text!("drx/prescription.status.changed"),
        &["/created", "/data/changed_at"],
    ),
    Sample {
        note: "a name with a space",
        ..drx("Waiting Bin", text!("drx/waiting-bin"), &["/created", "/data/changed_at"])
    },
    Sample {
        note: "its data is an array",
        ..drx(
            "Confirm Pickup",
            text!("drx/confirm-pickup"),
            &["/created", "/data/0/changed_at", "/data/1/changed_at"],
        )
    },
    rxscale("pharmacy_order_created", text!("rxscale/pharmacy_order_created")),
    rxscale("pharmacy_order_updated", text!("rxscale/pharmacy_order_updated")),
    Sample {
        note: "in the same second",
        ..rxscale("pharmacy_order_updated", text!("rxscale/pharmacy_order_updated.same-second"))
    },
    sample(
        Preset::StandardWebhooks,
        "user.created",
        text!("standard-webhooks/user.created"),
        Some("/type"),
        IdPlace::Header("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
        &["/timestamp"],
    ),
    stripe("payment_intent.succeeded", text!("stripe/payment_intent.succeeded")),
    stripe("invoice.paid", text!("stripe/invoice.paid")),
    github("push", text!("github/push")),
    github("ping", text!("github/ping")),
    sample(
        Preset::Slack,
        "app_mention",
        text!("slack/app_mention"),
        Some("/event/type"),
        IdPlace::Body("/event_id"),
        &["/event_time"],
    ),
    Sample {
        note: "never stored",
        handshake: true,
        ..sample(
            Preset::Slack,
            "url_verification",
            text!("slack/url_verification"),
            Some("/type"),
            IdPlace::Body("/challenge"),
            &[],
        )
    },
    sample(
        Preset::Shopify,
        "orders/create",
        text!("shopify/orders-create"),
        None,
        IdPlace::Header("98880550-7158-44d4-b7cd-2c97c8a091b5"),
        &["/created_at"],
    ),
];
