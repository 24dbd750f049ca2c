import type { BuildName } from './choose-build.js';

/** Where the builds lie that this package carries; the file is written when dist/ is assembled. */
export const builds: { readonly [Name in BuildName]?: () => URL };

/** Version of the package. */
export const version: string;
