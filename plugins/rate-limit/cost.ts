// What a request costs where an attribute says it.

/** The most that an attribute may ask for: far beyond every limit, and still a whole number in every sum. */
const MOST_UNITS = 1_000_000_000

/** Units in a text: whole and at least 1. What is no number counts as one request. */
export function unitsOf(text: string | undefined): number {
  if (text === undefined || !/^\d+(\.\d+)?$/.test(text)) return 1
  return Math.min(MOST_UNITS, Math.max(1, Math.ceil(Number(text))))
}
