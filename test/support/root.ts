// Where the repository lies: tests run in it, but stand elsewhere once they are stripped of their types.

/** The folder of package.json. */
export const ROOT = process.cwd()
