// Text as the value of a field, which is a string of bytes: in UTF-8.
import { isFieldValue } from '../http1/framing.ts'

/** The text's bytes in UTF-8, one latin1 letter each, as field values are here. */
export function inUtf8(text: string): string {
  return /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}

/**
 * The text as a field's value, or null where no field can carry it unchanged: with control characters, with half a
 * surrogate pair, or with blanks at its ends, which are no part of a value (RFC 9110 5.5): " admin" would arrive as "admin".
 */
export function fieldText(text: string): string | null {
  return /[\x00-\x1f\x7f]|\p{Surrogate}|^ | $/u.test(text) ? null : inUtf8(text)
}

/** Why no field on the wire has this value, or null. */
export function fieldValueFault(value: string): string | null {
  if (!isFieldValue(value)) return 'no header has such a value: it holds control characters, or some past Latin-1'
  // Those of the wire are taken off (RFC 9110 5.5).
  return /^[ \t]|[ \t]$/.test(value) ? 'no header has such a value: it begins or ends with a blank' : null
}
