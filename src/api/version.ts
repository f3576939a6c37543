/** This package's version. */
import { packageVersion } from "../node/package.ts";

/** The version in `package.json`. */
export const VERSION: string = packageVersion();
