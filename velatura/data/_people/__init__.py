"""The workshop behind `velatura.data.people`: one room per noun, none of it public.

census   who does what: labels balanced over people, clips and actions
motion   actions as curves of joint angles
body     proportions and forward kinematics
scene    every random factor of one clip, in units of the frame
room     walls and floors behind the people
draw     a scene as pixels, masks and keypoints
crowd    still pictures of several people among things
cache    rendering by all cores into files that are whole or absent
"""
