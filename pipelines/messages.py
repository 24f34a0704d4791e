"""What a chat is made of. Here, so that whoever handles chats need not import what computes with them."""

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""
