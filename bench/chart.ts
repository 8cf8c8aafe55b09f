// Draws a horizontal bar chart as SVG text, readable on light and dark pages.

export interface Bar {
  readonly label: string
  /** null draws the word `failed` instead of a bar. */
  readonly value: number | null
  readonly low: number
  readonly high: number
  /** Drawn in the accent colour. */
  readonly ours: boolean
}

const WIDTH = 720
const LABELS = 170
const VALUES = 60
const ROW = 30
const TOP = 44

/** Bars begin at zero; the thin line on each shows the lowest and highest round. */
export function chart(title: string, bars: readonly Bar[]): string {
  const height = TOP + bars.length * ROW + 12
  const most = Math.max(1, ...bars.map(b => (b.value === null ? 0 : Math.max(b.value, b.high))))
  const x = (value: number) => LABELS + (value / most) * (WIDTH - LABELS - VALUES)
  const rows = bars.map((bar, i) => {
    const y = TOP + i * ROW
    const label = `<text x="${LABELS - 10}" y="${y + 15}" text-anchor="end">${escaped(bar.label)}</text>`
    if (bar.value === null) return `${label}<text class="quiet" x="${LABELS + 4}" y="${y + 15}">failed</text>`
    const [end, low, high] = [x(bar.value), x(bar.low), x(bar.high)].map(n => n.toFixed(1))
    return [
      label,
      `<rect class="${bar.ours ? 'ours' : 'bar'}" x="${LABELS}" y="${y}" width="${(Number(end) - LABELS).toFixed(1)}" height="20" rx="2"/>`,
      `<path class="range" d="M${low} ${y + 6}v8M${low} ${y + 10}H${high}M${high} ${y + 6}v8"/>`,
      `<text x="${(Math.max(Number(end), Number(high)) + 8).toFixed(1)}" y="${y + 15}">${bar.value.toFixed(1)}</text>`,
    ].join('')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>${escaped(title)}</title>
<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .head { font-weight: 600; font-size: 15px }
  .quiet { fill: #6e7781 }
  .bar { fill: #9aa6b2 }
  .ours { fill: #0f8b8d }
  .range { stroke: #24292f; stroke-opacity: .6; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #8d96a0 }
    .bar { fill: #5b6672 }
    .ours { fill: #2bb3b5 }
    .range { stroke: #e6edf3 }
  }
</style>
<text class="head" x="10" y="24">${escaped(title)}</text>
${rows.join('\n')}
</svg>
`
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')
}
