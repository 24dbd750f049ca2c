//! Rows of the first table of docs/MODELS.md.

/// A family of models with the fixtures that stand for it.
pub struct Family {
    /// Values of `general.architecture`, and what else tells the family.
    pub names: &'static str,
    /// What people call them.
    pub models: &'static str,
    /// Fixtures; the worst figure of any counts.
    pub fixtures: &'static [&'static str],
}

const fn family(
    names: &'static str,
    models: &'static str,
    fixtures: &'static [&'static str],
) -> Family {
    Family {
        names,
        models,
        fixtures,
    }
}

pub const FAMILIES: &[Family] = &[
    family(
        "`llama`",
        "Llama 2 and 3, Mistral, SmolLM 2, TinyLlama, Falcon 3",
        &[
            "llama-gqa",
            "llama-mha-untied",
            "llama-mqa-spm",
            "llama-rope3",
            "llama-rope-linear",
            "llama-rope-yarn",
            "mistral-like",
            "container-align64",
        ],
    ),
    family(
        "`llama`, Q4_0 / Q4_K_M",
        "the same as llama.cpp quantizes them, also split into files",
        &[
            "llama-mix-Q4_K_M",
            "llama-mix-Q4_K_M-fallback",
            "container-split-00001-of-00003",
        ],
    ),
    family("`llama` with experts", "Mixtral", &["llama-moe"]),
    family(
        "`smollm3`",
        "SmolLM 3 (every fourth layer without positions)",
        &["smollm3"],
    ),
    family("`qwen2`", "Qwen 2 and 2.5", &["qwen2"]),
    family("`qwen3`", "Qwen 3", &["qwen3"]),
    family(
        "`qwen3` with pooling",
        "Qwen 3 Embedding, Qwen 3 Reranker",
        &["qwen3-embedding", "qwen3-rerank"],
    ),
    family(
        "`qwen2vl`, `qwen3vl`",
        "Qwen 2 VL, 2.5 VL and 3 VL, text only",
        &["qwen2vl", "qwen3vl"],
    ),
    family("`qwen35`", "Qwen 3.5 (gated delta net)", &["qwen35"]),
    family(
        "`qwen2moe`, `qwen3moe`, `qwen3vlmoe`",
        "Qwen with experts",
        &["qwen2moe", "qwen3moe", "qwen3vlmoe"],
    ),
    family(
        "`qwen3moe`, Q4_0",
        "the same, quantized",
        &["qwen3moe-q-Q4_0"],
    ),
    family("`gemma`", "Gemma 1", &["gemma"]),
    family(
        "`gemma2`, `gemma3`",
        "Gemma 2, Gemma 3",
        &["gemma2", "gemma3"],
    ),
    family(
        "`gemma3`, Q4_0",
        "the same, quantized",
        &["gemma3-mix-Q4_0"],
    ),
    family(
        "`gemma4`",
        "Gemma 4 E2B and E4B, text (not the sizes with experts)",
        &["gemma4"],
    ),
    family("`gemma3n`", "Gemma 3n E2B and E4B, text", &["gemma3n"]),
    family("`gemma-embedding`", "EmbeddingGemma", &["gemma-embedding"]),
    family(
        "`phi3`",
        "Phi 3, Phi 3.5, Phi 4 mini",
        &["phi3", "phi3-longrope"],
    ),
    family(
        "`phi2`, `gptneox`",
        "Phi 1, 1.5 and 2; Pythia and other GPT-NeoX",
        &["phi2", "gptneox"],
    ),
    family("`falcon`", "Falcon 7B", &["falcon"]),
    family("`gpt2`", "GPT-2", &["gpt2"]),
    family(
        "`starcoder`, `starcoder2`",
        "StarCoder 1 and 2",
        &["starcoder", "starcoder2"],
    ),
    family(
        "`bloom`, `mpt`",
        "BLOOM, BLOOMZ, MPT (ALiBi)",
        &["bloom", "mpt"],
    ),
    family("`refact`", "Refact (ALiBi)", &["refact"]),
    family("`openelm`", "OpenELM", &["openelm"]),
    family("`internlm2`", "InternLM 2", &["internlm2"]),
    family(
        "`arcee`, `maincoder`, `pangu-embedded`",
        "AFM, Maincoder, openPangu Embedded",
        &["arcee", "maincoder", "pangu-embedded"],
    ),
    family(
        "`lfm2`, `lfm2moe`",
        "LFM 2, with experts too",
        &["lfm2", "lfm2moe"],
    ),
    family(
        "`granite`, `granitemoe`, `granite_swa`",
        "Granite 3 and 4, with windows and sinks too",
        &["granite", "granite-nope", "granitemoe", "granite_swa"],
    ),
    family(
        "`granitehybrid`",
        "Granite 4 H (Mamba 2)",
        &["granitehybrid"],
    ),
    family(
        "`falcon-h1`",
        "Falcon H1 (attention and Mamba 2 side by side)",
        &["falcon-h1"],
    ),
    family(
        "`nemotron_h`",
        "Nemotron H and Nemotron 3 Nano (dense)",
        &["nemotron_h"],
    ),
    family(
        "`mamba`, `mamba2`",
        "Mamba 1 and 2 alone, Falcon Mamba",
        &["mamba", "falcon-mamba", "mamba2"],
    ),
    family(
        "`jamba`",
        "Jamba (attention and Mamba, with experts too)",
        &["jamba"],
    ),
    family("`rwkv7`", "RWKV 7", &["rwkv7"]),
    family(
        "`bitnet`",
        "BitNet b1.58 as llama.cpp converts it",
        &["bitnet"],
    ),
    family(
        "`nemotron`, `jais2`, `orion`",
        "Nemotron and Minitron, Jais 2, Orion",
        &["nemotron", "jais2", "orion"],
    ),
    family(
        "`command-r`, `cohere2`",
        "Command R, R7B, Aya, Tiny Aya",
        &["command-r", "cohere2"],
    ),
    family(
        "`chatglm`, `glm4`",
        "ChatGLM 3, GLM-Edge, GLM 4",
        &["chatglm", "glm4", "glm4-sections"],
    ),
    family(
        "`seed_oss`, `xverse`",
        "Seed-OSS, XVERSE",
        &["seed_oss", "xverse"],
    ),
    family(
        "`nanbeige`",
        "Nanbeige (layers run several times)",
        &["nanbeige", "nanbeige-plain"],
    ),
    family("`olmo`", "OLMo 1 (not those with clipping)", &["olmo"]),
    family("`olmo2`", "OLMo 2, OLMo 3", &["olmo2", "olmo3"]),
    family("`olmoe`", "OLMoE", &["olmoe"]),
    family(
        "`deepseek2`",
        "DeepSeek V2 Lite, Youtu LLM, GigaChat 3, GLM 4.7 Flash (MLA, both ways of storing it)",
        &["deepseek2", "deepseek2-wide", "deepseek2-whole"],
    ),
    family(
        "`afmoe`, `mellum`",
        "Trinity Nano, Mellum with experts",
        &["afmoe", "mellum"],
    ),
    family("`spark2_5`", "Spark 2.5", &["spark2_5"]),
    family("`codeshell`", "CodeShell", &["codeshell"]),
    family(
        "`minicpm3`, `plm`",
        "MiniCPM 3, PLM (MLA)",
        &["minicpm3", "plm"],
    ),
    family(
        "`deepseek`, `bailingmoe`",
        "DeepSeek MoE 16B, Ling Lite and Coder",
        &["deepseek", "bailingmoe"],
    ),
    family(
        "`mistral3`",
        "Ministral 3 (YaRN, temperature of attention)",
        &["mistral3"],
    ),
    family("`minicpm`", "MiniCPM 1 and 2", &["minicpm"]),
    family(
        "`exaone`, `exaone4`",
        "EXAONE 3 to 4",
        &["exaone", "exaone4"],
    ),
    family(
        "`ernie4_5`, `ernie4_5-moe`",
        "ERNIE 4.5",
        &["ernie4_5", "ernie4_5-moe"],
    ),
    family("`smallthinker`", "SmallThinker", &["smallthinker"]),
    family(
        "`hunyuan-dense`, `hunyuan-moe`",
        "Hunyuan",
        &["hunyuan-dense", "hunyuan-moe"],
    ),
    family(
        "`stablelm`",
        "StableLM, both forms",
        &["stablelm", "stablelm-parallel"],
    ),
    family("`gpt-oss`", "gpt-oss", &["gpt-oss"]),
    family(
        "`gpt-oss`, MXFP4",
        "the same with its experts' own type",
        &["gpt-oss-q-MXFP4"],
    ),
    family(
        "`bert`",
        "MiniLM, BGE, E5, … and rerankers",
        &["bert", "bert-rank"],
    ),
    family(
        "`eurobert`, `neo-bert`, `llama-embed`",
        "EuroBERT, NeoBERT, Llama Embed Nemotron",
        &["eurobert", "neo-bert", "llama-embed"],
    ),
    family(
        "`jina-bert-v2`, `jina-bert-v3`",
        "Jina Embeddings 2 (text, code) and 3",
        &["jina-bert-v2", "jina-bert-v2-code", "jina-bert-v3"],
    ),
    family(
        "`nomic-bert`, `nomic-bert-moe`",
        "Nomic Embed 1.5 and 2",
        &["nomic-bert", "nomic-bert-moe"],
    ),
    family(
        "`modern-bert`",
        "ModernBERT, Granite Embedding R2, rerankers",
        &["modern-bert", "modern-bert-rank"],
    ),
    family("`t5`, `t5encoder`", "T5, Flan-T5", &["t5", "t5encoder"]),
];
