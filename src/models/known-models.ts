/** What providers do not tell about their well-known models. What a provider does tell goes before this. */

export interface KnownLimits {
  readonly contextWindow: number;
  readonly maxOutputTokens: number | undefined;
}

/** A model that nobody knows: what most small local models can do. */
export const unknownContextWindow = 32_768;

/** The first pattern that matches counts. From the providers' pages on models, 2026. */
const known: readonly (readonly [RegExp, number, number?])[] = [
  [/^gpt-5[\w.-]*chat/, 128_000, 16_384],
  [/^gpt-5/, 400_000, 128_000],
  [/^gpt-4\.1/, 1_047_576, 32_768],
  [/^(?:gpt-4o|chatgpt-4o)/, 128_000, 16_384],
  [/^gpt-4-(?:turbo|1106|0125)/, 128_000, 4_096],
  [/^gpt-4-32k/, 32_768],
  [/^gpt-4/, 8_192],
  [/^gpt-3\.5/, 16_385, 4_096],
  [/^o\d/, 200_000, 100_000],
  [/^gpt-oss/, 131_072],
  [/claude-3-(?:haiku|opus|sonnet)/, 200_000, 4_096],
  [/claude-3-5/, 200_000, 8_192],
  [/claude-opus-4(?:-[01])?(?:-\d{8})?$/, 200_000, 32_000],
  [/claude/, 200_000, 64_000],
  [/^deepseek/, 128_000, 8_192],
  [/^grok-(?:4|code)/, 256_000],
  [/^grok/, 131_072],
  [/^(?:mistral|ministral|magistral|devstral|codestral|pixtral)/, 128_000],
  [/gemini/, 1_048_576, 65_536],
  [/llama-?3\.[1-9]|llama-?4/, 131_072],
  [/qwen-?3|qwen-?2\.5/, 32_768],
  [/kimi-k2|glm-4\.[5-9]|glm-5/, 131_072],
];

/** `name` with or without its maker (`meta-llama/Llama-3.3-70B`). */
export function knownLimits(name: string): KnownLimits {
  const plain = name.toLowerCase().replace(/^.*\//, "");
  const found = known.find(([pattern]) => pattern.test(plain));
  return { contextWindow: found?.[1] ?? unknownContextWindow, maxOutputTokens: found?.[2] };
}

const notChat = /embed|whisper|\btts\b|dall-e|moderation|rerank|\bocr\b|guard|stable-diffusion|flux/i;
/** These OpenAI serves by other APIs only. */
const notChatAtOpenAI =
  /^(?:davinci|babbage|sora|computer-use)|^(?:gpt|chatgpt|o\d)[\w.-]*?(?:realtime|audio|image|transcribe|tts|instruct|search|deep-research|codex|-pro(?![a-z]))/;

/** Lists of models also hold what cannot chat; where a server does not tell, the name must. */
export function isChatModel(name: string): boolean {
  return !notChat.test(name) && !notChatAtOpenAI.test(name);
}
