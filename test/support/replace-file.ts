// A file that changes as editors and deployments change one: whole at once, for half of a file is a change too.
import { renameSync, writeFileSync } from 'node:fs'

/** A new file of this text takes the name of the old one. */
export function replaceFile(file: string, text: string): void {
  writeFileSync(`${file}.next`, text)
  renameSync(`${file}.next`, file)
}
