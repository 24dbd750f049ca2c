/** Names of the builds that this package carries; the file is written by `cargo xtask build`. */
export const builds: readonly string[];
