//! Which buffers each operation reads and writes.

use crate::model::{BufId, Op};

/// Buffers that an operation reads.
pub fn reads(op: &Op) -> Vec<BufId> {
    match *op {
        Op::Embed { .. } | Op::EveryExpert { .. } => vec![],
        Op::Norm { x, .. }
        | Op::MatMul { x, .. }
        | Op::Rope { x, .. }
        | Op::PositionScale { x, .. }
        | Op::MoeRoute { x, .. }
        | Op::Slice { x, .. }
        | Op::ScaleByWeight { x, .. }
        | Op::CausalConv { x, .. }
        | Op::TokenShift { x, .. }
        | Op::Act { x, .. }
        | Op::Scale { x, .. }
        | Op::SoftCap { x, .. }
        | Op::Softmax { x }
        | Op::Sparsify { x, .. }
        | Op::Pool { x, .. }
        | Op::LastRow { x, .. } => vec![x],
        Op::MoeMatMul { x, route, .. } | Op::MoeSum { x, route, .. } => vec![x, route],
        Op::StoreKv { k, v, .. } => vec![k, v],
        Op::Attention { q, .. } => vec![q],
        Op::DeltaNet {
            qkv, alpha, beta, ..
        } => vec![qkv, alpha, beta],
        Op::StateScan { xbc, dt, .. } => vec![xbc, dt],
        Op::GatedAct { gate, up, .. } => vec![gate, up],
        Op::Add { a, b, .. } => vec![a, b],
        Op::MixStreams { x, y, coefs, .. } => [x, y].into_iter().chain(coefs).collect(),
        Op::JoinStreams { first, rest, .. } => vec![first, rest],
        Op::Wkv7 { rwkva, .. } => vec![rwkva],
        Op::SelectiveScan { x, dt, bc, .. } => vec![x, dt, bc],
        // What it leaves as it is was written before.
        Op::Place { x, out, .. } => vec![x, out],
    }
}

/// Buffer that an operation writes whole.
pub fn written(op: &Op) -> Option<BufId> {
    match *op {
        Op::Embed { out, .. }
        | Op::Norm { out, .. }
        | Op::MatMul { out, .. }
        | Op::Attention { out, .. }
        | Op::GatedAct { out, .. }
        | Op::Slice { out, .. }
        | Op::CausalConv { out, .. }
        | Op::TokenShift { out, .. }
        | Op::Wkv7 { out, .. }
        | Op::SelectiveScan { out, .. }
        | Op::Place { out, .. }
        | Op::DeltaNet { out, .. }
        | Op::StateScan { out, .. }
        | Op::Add { out, .. }
        | Op::JoinStreams { out, .. }
        | Op::MoeRoute { out, .. }
        | Op::EveryExpert { out, .. }
        | Op::MoeMatMul { out, .. }
        | Op::MoeSum { out, .. }
        | Op::Pool { out, .. }
        | Op::LastRow { out, .. } => Some(out),
        Op::Rope { x, .. }
        | Op::PositionScale { x, .. }
        | Op::ScaleByWeight { x, .. }
        | Op::Act { x, .. }
        | Op::Scale { x, .. }
        | Op::Softmax { x }
        | Op::Sparsify { x, .. }
        | Op::MixStreams { x, .. }
        | Op::SoftCap { x, .. } => Some(x),
        Op::StoreKv { .. } => None,
    }
}

/// Every buffer that an operation names.
pub fn buffers_mut(op: &mut Op) -> Vec<&mut BufId> {
    match op {
        Op::Embed { out, .. } | Op::EveryExpert { out, .. } => vec![out],
        Op::Norm { x, out, .. }
        | Op::MatMul { x, out, .. }
        | Op::Slice { x, out, .. }
        | Op::CausalConv { x, out, .. }
        | Op::TokenShift { x, out, .. }
        | Op::Place { x, out, .. }
        | Op::Pool { x, out, .. }
        | Op::LastRow { x, out } => vec![x, out],
        Op::MoeRoute { x, out, .. } => vec![x, out],
        Op::MoeMatMul { x, route, out, .. } | Op::MoeSum { x, route, out, .. } => {
            vec![x, route, out]
        }
        Op::Rope { x, .. }
        | Op::PositionScale { x, .. }
        | Op::ScaleByWeight { x, .. }
        | Op::Act { x, .. }
        | Op::Scale { x, .. }
        | Op::Softmax { x }
        | Op::Sparsify { x, .. }
        | Op::SoftCap { x, .. } => vec![x],
        Op::StoreKv { k, v, .. } => vec![k, v],
        Op::Attention { q, out, .. } => vec![q, out],
        Op::DeltaNet {
            qkv,
            alpha,
            beta,
            out,
            ..
        } => vec![qkv, alpha, beta, out],
        Op::StateScan { xbc, dt, out, .. } => vec![xbc, dt, out],
        Op::GatedAct { gate, up, out, .. } => vec![gate, up, out],
        Op::Add { a, b, out } => vec![a, b, out],
        Op::MixStreams { x, y, coefs, .. } => [x, y].into_iter().chain(coefs).collect(),
        Op::JoinStreams { first, rest, out } => vec![first, rest, out],
        Op::Wkv7 { rwkva, out, .. } => vec![rwkva, out],
        Op::SelectiveScan { x, dt, bc, out, .. } => vec![x, dt, bc, out],
    }
}
