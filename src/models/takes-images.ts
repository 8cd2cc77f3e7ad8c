/** Names of models that look at images, under whichever provider. */
const seeing: readonly RegExp[] = [
  /claude-(?!2|instant)/,
  /gpt-(4o|4\.1|4\.5|4-turbo|[5-9])/,
  /\bo1(?!-mini|-preview)\b|\bo3(?!-mini)\b|\bo4-/,
  /gemini-/,
  /grok-4/,
  /vision|llava|pixtral|[-.\d]vl\b/,
];

/**
 * Whether a model is known to look at images. A model that does not refuses the whole request that has one, so where nothing
 * is known it gets none of those that nobody has chosen for it, which are those of tools' results.
 */
export function takesImages(name: string): boolean {
  return seeing.some((pattern) => pattern.test(name.toLowerCase()));
}
