import type { BuildName } from './choose-build.js';

/** Where the builds lie that this package carries; the file is written when dist/ is assembled. */
export const builds: { readonly [Name in BuildName]?: () => URL };

/** Pages of memory that the builds for threads start with. */
export const sharedPages: number;

/** Version of the package. */
export const version: string;
