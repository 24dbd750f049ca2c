//! The choice that is made by the clock.

use super::super::kernel::Arithmetic;
use super::*;

#[test]
fn timing_a_chunk_changes_nothing() {
    let Some(mut gpu) = open(FREE) else {
        return;
    };
    // Software adapters are not timed.
    gpu.software = false;
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
