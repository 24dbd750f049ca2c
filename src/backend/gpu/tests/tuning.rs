//! What is chosen by the clock, and what is cut up so that no submit takes long.

use super::super::kernel::Arithmetic;
use super::*;

#[test]
fn timing_a_chunk_changes_nothing() {
    let Some(gpu) = open(FREE) else {
        return;
    };
    let tokens: Vec<u32> = (0..40).collect();
    let logits = |gpu: &mut GpuBackend| {
        let mut cache = gpu.new_cache(64);
        block_on(gpu.forward(&mut cache, &tokens, LogitRows::Last)).unwrap();
        gpu.logits().to_vec()
    };
    for name in ["llama-q-Q8_0", "lfm2"] {
        let model = Model::open(name);
        let mut gpu = model.gpu(&gpu, model.plan.clone(), KvType::F16, FREE);
        let before = logits(&mut gpu);
        assert!(before.iter().all(|logit| logit.is_finite()));
        let chosen = block_on(gpu.preferred_arithmetic()).unwrap();
        println!("{name}: {chosen:?}");
        assert_eq!(
            gpu.arithmetic(),
            Arithmetic::F32,
            "choosing is the caller's"
        );
        assert_eq!(logits(&mut gpu), before);
    }
}

#[test]
fn a_pass_in_several_submits_gives_what_one_gives() {
    let Some(gpu) = open(FREE) else {
        return;
    };
    let tokens: Vec<u32> = (0..40).collect();
    for name in ["llama-q-Q8_0", "lfm2", "bert"] {
        let model = Model::open(name);
        let results = [None, Some(1 << 16), Some(1)].map(|products| {
            let restrictions = Restrictions { products, ..FREE };
            let mut backend = model.gpu(&gpu, model.plan.clone(), KvType::F16, restrictions);
            let parts = backend.submits(0..1000, tokens.len()).count();
            let mut cache = backend.new_cache(64);
            if !model.plan.whole {
                block_on(backend.forward(&mut cache, &tokens, LogitRows::None)).unwrap();
            }
            block_on(backend.forward(&mut cache, &tokens[..20], LogitRows::All)).unwrap();
            (parts, backend.logits().to_vec())
        });
        let [(one, whole), (some, cut), (all, shredded)] = results;
        assert!(
            one == 1 && some > 1 && some < all && all == 1000,
            "{name}: {some}"
        );
        assert!(whole.iter().all(|logit| logit.is_finite()));
        assert_eq!(whole, cut, "{name}");
        assert_eq!(whole, shredded, "{name}");
    }
}
