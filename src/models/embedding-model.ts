/** What is known of an embedding model. Nothing embeds yet: this is for lists and for agents' configurations. */
export interface EmbeddingModelInfo {
  /** `provider/model`. */
  readonly handle: string;
  readonly name: string;
  readonly displayName: string;
  readonly providerType: string;
  readonly providerName: string;
  /** Letta's `embedding_endpoint_type`. */
  readonly endpointType: string;
  readonly endpoint: string;
  readonly dimensions: number;
}
