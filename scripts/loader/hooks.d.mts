/** The text of a source file without its types. */
export function stripped(file: string): string | Uint8Array
